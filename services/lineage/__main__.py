"""`python -m services.lineage run | migrate | config check | offsets skip`."""

from services.lineage.app import build
from services.lineage.settings import LineageSettings
from shared.main import main

main("lineage", LineageSettings, build)
