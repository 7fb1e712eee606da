"""The parts of checking data sets."""
