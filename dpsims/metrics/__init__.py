"""How good and how varied generated images are: FID, KID, precision and recall, LPIPS over z."""
