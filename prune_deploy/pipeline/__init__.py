"""Pipeline from a request to a bundle on disk.

Importing it costs nothing: a repeated export needs few modules, and the others are imported when they are needed.
"""

from __future__ import annotations

from prune_deploy.pipeline.export import Exported, Network, build_network, export_bundle
from prune_deploy.pipeline.module_export import export_module
from prune_deploy.pipeline.requests import cache_key, find_bundle

__all__ = ["Exported", "Network", "build_network", "cache_key", "export_bundle", "export_module", "find_bundle"]
