"""`python -m pipelines.delivery`: the report on a change, also run by the code of other commits."""

import sys

from pipelines.delivery import report

sys.exit(report.main())
