"""Mutated files and odd options, which never end in a traceback.

Strangers hand in bundles, runs, sweeps, images and options. Hypothesis mutates small real ones. Each reader must return a value or raise
a `PruneDeployError` with a fix. Each command must end with a documented exit code. Nothing outside the test's folder may be written, and
nobody may be called over the network.

`make test` runs the profile `gate`: the same examples each time, about a minute in all. `make nightly` runs the profile `nightly`: other
examples each time, for FUZZ_MINUTES minutes, which all tests share evenly. Both print what was run, test by test.

- `oracle`: what counts as a failure
- `mutations`: how bytes and documents change
- `places`: what may lie in the place of a file or a folder
- `arguments`: command lines, drawn from click's own declarations
"""
