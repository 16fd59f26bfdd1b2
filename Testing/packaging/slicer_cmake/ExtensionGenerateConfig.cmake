# For extensions that others link to; a scripted one has nothing to export.
