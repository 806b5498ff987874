"""The settings of MLflow itself that Headrace gives another default."""

MLFLOW_DEFAULTS = {
    # It reports its usage to third parties otherwise.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # It fetches its price list from the Internet at the first LLM span otherwise, which blocks the writer for seconds where
    # there is no way out. Empty: the list that MLflow ships.
    "MLFLOW_MODEL_CATALOG_URI": "",
    # Background jobs (LLM judges over traces) are eight more processes, 2 GB, beside the UI of `headrace up`.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
"""MLflow's own settings as Headrace runs it, here and in its children; what the user has set wins."""
