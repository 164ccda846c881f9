"""Commands for data: pack, unpack, import, preview, phantom, doctor."""
