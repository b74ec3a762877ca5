"""The published comparison (`make comparison`): fortieth beside other servers, in parts."""
