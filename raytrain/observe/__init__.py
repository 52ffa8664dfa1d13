"""What people look at: a run's report and the charts in it. Producers write figures; only this room draws."""
