"""The steps of a scan on one field, as functions on arrays; nothing is opened here."""
