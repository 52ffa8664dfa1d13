"""What `raytrain up` starts and stops on one machine: the same services, under the same names, as in production."""
