"""What `make unit` loads (`pytest -p unit.alone`), so that the inner loop is quick. The whole run goes without it.

- MLflow finds no numpy and no pandas, as in Headrace's own processes. It imports them otherwise, for two seconds.
- Hypothesis tries a tenth of its examples. Others are tried in each run.
- Of many cases that are alike some are tried (`thinned.py`).
"""

import hypothesis

from headrace.mlflow.libraries import leave_out_libraries

leave_out_libraries()
hypothesis.settings.register_profile("alone", max_examples=hypothesis.settings().max_examples // 10)
hypothesis.settings.load_profile("alone")
