"""What runs will take, before they are started."""
