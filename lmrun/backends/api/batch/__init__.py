"""``mode = "batch"``: requests go to the provider's batch API, at a lower price and within a day.

:class:`~lmrun.backends.api.batch.pump.BatchPump` writes requests into files, submits each as a batch, looks after it,
and reads the answers when it has ended. What is at the provider is written down beforehand, so that whoever comes after
a crash finds it again and submits nothing twice.
"""
