"""The only folder that imports bentoml: decorator, endpoints, batching, runners."""
