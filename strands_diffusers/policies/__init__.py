"""What chooses actions: the classes of `policy=`."""
