"""What makes one router of many: ZooKeeper, who is there, who leads, and the store all share."""
