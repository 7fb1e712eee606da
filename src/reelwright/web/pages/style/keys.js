// Alt and a key press what says that it is reached so. Not accesskey: browsers differ in what goes with it.
document.addEventListener("keydown", (event) => {
  if (!event.altKey || event.ctrlKey || event.metaKey || event.repeat) return;
  const key = event.code.replace(/^(Digit|Key)/, "").toLowerCase();
  const element = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (element === null) return;
  event.preventDefault();
  element.click();
});
