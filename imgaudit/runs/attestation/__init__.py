"""Attestations: signatures over a finished run or a file, timestamps of them, and bags for handing a run over.

They lie in RUN/attestations/, or beside a file that is no run. They are made after the evidence, which does not list
them. The packages they need are those of the extra `evidence`; nothing here opens a connection.
"""
