"""Reports: everything a folder of results holds as `report.json`, and as one self-contained `report.html`."""
