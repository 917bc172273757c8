"""Recurrent networks: Elman, LSTM and GRU for text, sequences and time series, as configs of one model."""
