"""`python -m sfumato.cli`."""

import sys

from sfumato.__main__ import main

sys.exit(main())
