"""What runs instances, and how their health is found out."""
