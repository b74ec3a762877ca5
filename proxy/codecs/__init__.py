"""Client APIs: what each dialect says differently, requests, answers, streams, errors and ids."""
