"""`python -m geomprobe`: the same as the console command."""

from geomprobe.cli.main import main

main()
