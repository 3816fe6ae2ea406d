"""`python -m pipelines.delivery`: the report on a change; the code of other commits runs it too."""

import sys

from pipelines.delivery import report

sys.exit(report.main())
