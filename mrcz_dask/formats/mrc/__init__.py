"""MRC and MRCZ: header, frames, footer; read and written."""
