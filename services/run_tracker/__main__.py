"""`python -m services.run_tracker run | migrate | config check | offsets skip`."""

from services.run_tracker.app import build
from services.run_tracker.settings import RunTrackerSettings
from shared.main import main

if __name__ == "__main__":
    main("run_tracker", RunTrackerSettings, build)
