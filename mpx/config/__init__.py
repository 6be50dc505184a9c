"""Configuration: YAML → `ExperimentConfig`, by way of `schema.json`, with a position for every mistake.

`model` holds the resolved values and loads nothing third-party, for the manager reads them back from
`experiment.json`; `reader` and `validation` are what a command needs to turn a user's file into them.
"""
