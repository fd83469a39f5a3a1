"""What scenes are put together from: each part adds something to a Builder, and knows no set."""
