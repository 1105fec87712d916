// The command that draws the plane in view for a paper.

function startCommands() {
  const code = find("plane-command");
  if (!code || !axes.length) return;
  const command = code.textContent;
  const write = () => { code.textContent = `${command} --x ${state.x} --y ${state.y}`; };
  follow(["x", "y"], write);
  write();
}

startCommands();
