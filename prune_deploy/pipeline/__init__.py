"""From a request to a bundle on disk. Importing it costs nothing: what a repeated export does not need is imported when it is needed."""

from __future__ import annotations

from prune_deploy.pipeline.export import Exported, Network, build_network, export_bundle
from prune_deploy.pipeline.requests import cache_key, find_bundle

__all__ = ["Exported", "Network", "build_network", "cache_key", "export_bundle", "find_bundle"]
