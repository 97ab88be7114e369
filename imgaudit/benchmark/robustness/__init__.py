"""The tool under attack: hostile files, kills, damage; every case in one table, nothing lost and nothing run."""
