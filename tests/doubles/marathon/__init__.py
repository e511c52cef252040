"""
A Marathon for tests: it speaks the real API, and really runs its tasks, as processes of this machine.

C{python -m tests.doubles.marathon --port N} runs it alone. What it has of the API: apps with their versions, tasks,
deployments, the launch queue, info, leader, ping and events; and of a Mesos agent the files of tasks. It has no groups and
no pods, and knows no containers: a task runs with the rights of the double itself.

Tasks outlive a double that is killed, as they would at Mesos, and are found again by one that is started on the same
directory. One that is stopped in order, or whose parent dies, ends them first.
"""
