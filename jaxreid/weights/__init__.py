"""Published weights in, our weights out: files, name tables and layouts; numpy only."""
