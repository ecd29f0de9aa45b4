"""What tests are made with: ranks, hosts, models; and the tests of these."""
