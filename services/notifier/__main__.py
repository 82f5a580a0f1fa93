from services.notifier.app import build
from services.notifier.settings import NotifierSettings
from shared.main import main

main("notifier", NotifierSettings, build)
