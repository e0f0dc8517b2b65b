"""The service that `bentofile.yaml` serves: two models that screen breast biopsies."""
