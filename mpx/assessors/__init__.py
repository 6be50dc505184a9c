"""The assessors that come with mpx, one file each; `mpx.loader` knows them by their names."""
