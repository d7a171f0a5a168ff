-- The compose file's logins, after the migration has made the roles. Passwords are for this machine.
CREATE ROLE worker LOGIN PASSWORD 'worker' IN ROLE trueup_writer;
CREATE ROLE grafana LOGIN PASSWORD 'grafana' IN ROLE trueup_operator;
