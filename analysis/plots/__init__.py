"""Figures of a study: what each shows (`chart`), drawn for the screen (`in_plotly`) and papers (`in_matplotlib`)."""
