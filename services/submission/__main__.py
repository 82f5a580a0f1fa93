from services.submission.app import build
from services.submission.settings import SubmissionSettings
from shared.main import main

main("submission", SubmissionSettings, build)
