from summaries.cli import main

raise SystemExit(main())
