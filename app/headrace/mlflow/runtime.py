"""What MLflow's code needs of the process before it is used well: the effects of importing this module, in one place.

- `litellm`, where it is not installed, is known to be missing. MLflow tries to import it for each span with a cost, which
  takes 250 µs a span else.
- MLflow's store does not log the whole stack of each database error before it raises it: the worker says the same in one line.

`MLFLOW_DEFAULTS` (in `headrace.config`) are set by the commands, as their children need them too.
"""

import logging
import sys
from importlib.util import find_spec

if find_spec("litellm") is None:
    sys.modules.setdefault("litellm", None)  # type: ignore[arg-type]

logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
