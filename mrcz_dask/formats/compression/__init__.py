"""How frames are compressed: codecs, their choice, and the chunks that they make."""
