"""The book in `docs/`: listings that are taken from the steps, and pages whose claims are run."""
