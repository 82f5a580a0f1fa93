-- Run by the image at its first start; the native stack does the same in deploy/native/setup.py.
create database prefect;
