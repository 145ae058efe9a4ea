// Package sim is the world a machine is tested in: links, weather, middleboxes, hosts and their
// applications, and checkers that know nothing of the machine's inside. One seed makes one run, and
// the same seed makes the same run, packet by packet.
package sim
