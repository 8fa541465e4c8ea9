"""The command line's first lines: `python -m geomprobe` and the console command."""

from geomprobe.cli import process


def main() -> None:
    """Run the command line; nothing heavy is imported before signals and streams are in order."""
    process.prepare()
    from geomprobe.cli.main import app

    try:
        app(prog_name="geomprobe")
    finally:
        process.leave_on_signals()


if __name__ == "__main__":
    main()
