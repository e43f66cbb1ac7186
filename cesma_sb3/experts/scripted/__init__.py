"""Controllers that are programs: navigation, and the focus of fire in battles."""
