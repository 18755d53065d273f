# A file as a C string, for #include.
s/\\/\\\\/g
s/"/\\"/g
s/.*/"&\\n"/
